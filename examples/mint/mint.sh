#!/bin/sh
# Needs no library: the relay signs for the issuer whose secret is in MINT_SECRET.
curl -fsS http://localhost:8080/mint -H "Authorization: Bearer $MINT_SECRET" \
	-d '{"provider": "demo", "sub": "alice", "limits": {"calls": 3}}'
