"""Network tokens from wallets, handed over decrypted by a server of the merchant's that may hold them."""
