"""PPO's own loop: rollouts, scoring, advantages and clipped updates with one base in memory (`loop` reads top down)."""
