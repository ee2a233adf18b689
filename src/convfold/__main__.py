"""``python -m convfold``."""

from convfold.cli import main

main(prog_name="convfold")
