"""An apply before and after the engine's part of it; and the end of a fabric, and of a lost store."""
