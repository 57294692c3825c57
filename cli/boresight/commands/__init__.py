"""One module a verb (or a family of verbs). Each imports what it needs inside its functions."""
