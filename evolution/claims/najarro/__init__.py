"""Claims of Najarro and Risi 2020 on ABCD rules from random weights."""
