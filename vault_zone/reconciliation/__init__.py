"""What a processor's settlement report says, held against the charges and the books."""
