"""A study and its files: journal, ledger, locks, attempts, leases, forks."""
