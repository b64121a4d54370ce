"""The parties and what passes between them: the room where privacy meets cryptography."""
