"""Makes the modules of the mutants importable for their tests, as they are for the kill table."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
