"""What monitoring keeps of single predictions, and its deletion."""
