"""Result tables of any length: the seal, tables that are written and read in pieces, folders of tables."""
