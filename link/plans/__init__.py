"""Contact plans: who can send to whom, when and how fast; their files; routes over them."""
