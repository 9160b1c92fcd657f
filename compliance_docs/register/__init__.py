"""The rows of the register, by subject."""
