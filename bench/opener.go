package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
)

// openerCommand is the hidden subcommand that opens tokens.
const openerCommand = "opener"

// openTokens opens a token again and again, at the rate at which a scenario has new
// ones come to the relay, until the bench ends the process.
func openTokens() error {
	issuer, err := newIssuer()
	if err != nil {
		return err
	}
	opener, err := eccrypto.NewOpener([]*eccrypto.PrivateKey{issuer.relayKey}, map[string]*eccrypto.PublicKey{issuerName: issuer.key.Public()})
	if err != nil {
		return err
	}
	token, err := issuer.seal(issuer.claims(nil))
	if err != nil {
		return err
	}
	begin := time.Now()
	for n := time.Duration(0); ; n++ {
		time.Sleep(time.Until(begin.Add(n * time.Second / besideRate)))
		if _, err := opener.Open(context.Background(), token); err != nil {
			return err
		}
	}
}

// startOpener starts a process that opens tokens, beside a subject.
func startOpener(ctx context.Context, sub *subject) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(filepath.Dir(sub.log), "opener")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return start(ctx, "opener", dir, nil, self, openerCommand)
}
