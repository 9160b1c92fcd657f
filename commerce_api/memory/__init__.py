"""What a brand remembers of its shoppers: facts with source, time and sensitivity, told to who is known well enough."""
