"""From a word that a user types to a network namespace, held open. Changes nothing."""
