"""Networks in which the k units of largest activity win (Cristian 2020, after Papadimitriou)."""
