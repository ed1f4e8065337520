"""What the commands share: options, refusals, what they print, how they run cases, how they write reports."""
