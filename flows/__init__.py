"""What happens, in which order: the `kedge` command, the processes it keeps, the flows that run on their own."""
