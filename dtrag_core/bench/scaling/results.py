"""`scaling.json`: what one scaling run measured, checked both ways against its schema."""

from typing import Final

from dtrag_core.bench.result_file import ResultFile

KIND: Final = "scaling"
SCHEMA_VERSION: Final = 1

_FILE: Final = ResultFile(KIND, SCHEMA_VERSION, "dtrag_core.bench.scaling")

scaling_schema = _FILE.schema
write_scaling_result = _FILE.write
read_scaling_result = _FILE.read
