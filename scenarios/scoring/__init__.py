"""What a task still gets out of a received picture: scores as the papers define them, and how sure they are."""
