"""The pages a shopper sees: the card form and its notices. No script or style from anywhere else."""
