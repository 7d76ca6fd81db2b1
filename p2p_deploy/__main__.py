"""``python -m p2p_deploy`` is ``p2p``."""

from p2p_deploy.cli import main

main()
