"""Tables and figures; reads run directories only."""
