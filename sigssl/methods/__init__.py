"""One file = one published method: views + encoder + objective."""
