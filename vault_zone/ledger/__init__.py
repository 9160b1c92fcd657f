"""The books: what money moved, as events that the engine of charges tells in the transaction that moves it."""
