"""What users run today, written anew: peers to be measured beside us."""
