"""One file, one rule. The file's stem is the rule's name; the registry finds it by that."""
