"""What a classifier is, how it is made, how it is judged and where its versions live."""
