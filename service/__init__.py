"""Who may knock: the HTTP service, the live model behind it, and the record of every answer."""
