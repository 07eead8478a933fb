"""What a team's image-generation calls cost, how long they take and how they fail."""
