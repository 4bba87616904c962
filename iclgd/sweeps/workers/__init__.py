"""Workers: who takes trials, and the processes in which these run."""
