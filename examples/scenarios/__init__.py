"""Three more kinds of agents, as configurations to begin with; payments have an example of their own."""
