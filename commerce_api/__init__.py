"""The merchant's side: brands, catalogue, checkout, orders, offers. It holds tokens only; a card never comes here (I2)."""
