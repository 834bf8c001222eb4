"""`peers.json`: what one comparison measured, checked against `peers.schema.json` both ways."""

from typing import Final

from dtrag_core.bench.result_file import ResultFile

KIND: Final = "peers"
SCHEMA_VERSION: Final = 1

_FILE: Final = ResultFile(KIND, SCHEMA_VERSION, "dtrag_core.bench.peers")

peers_schema = _FILE.schema
write_peers_result = _FILE.write
read_peers_result = _FILE.read
