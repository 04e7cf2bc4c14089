// Package keyfile keeps key pairs on disk. Each pair is two PEM files: <name>.pem, the
// private key, and <name>.pub.pem, the public key.
package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"go.uber.org/zap"
)

// Names of the relay's own key pairs.
const (
	Encryption = "encryption-key" // tokens are encrypted to it
	Signing    = "signing-key"    // the relay's own issuer signs with it
)

// DefaultDir returns the directory in which a relay keeps its store and its keys
// unless it is told otherwise.
func DefaultDir() string { return filepath.Join(caddy.AppDataDir(), "relayapi") }

// PrivatePath returns the path of a pair's private key.
func PrivatePath(dir, name string) string { return filepath.Join(dir, name+".pem") }

// PublicPath returns the path of a pair's public key.
func PublicPath(dir, name string) string { return filepath.Join(dir, name+".pub.pem") }

// ReadPrivate reads a private key from a PEM file. It refuses a file that everybody can
// write, because whoever writes it mints tokens. It warns of one that everybody can
// read.
func ReadPrivate(file string, logger *zap.Logger) (*eccrypto.PrivateKey, error) {
	data, mode, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if mode&0o004 != 0 {
		logger.Warn("everybody can read the private key; chmod 600 it", zap.String("file", file))
	}
	key, err := eccrypto.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w", file, err)
	}
	return key, nil
}

// Read reads a file that decides who mints tokens. The mode is 0 on Windows.
func Read(file string) (data []byte, mode fs.FileMode, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, 0, err
	}
	if runtime.GOOS != "windows" {
		mode = info.Mode().Perm()
	}
	if mode&0o002 != 0 {
		return nil, 0, fmt.Errorf("%s: everybody can write it (mode %04o); chmod go-w it, and replace it if anybody may have changed it", file, mode)
	}
	data, err = os.ReadFile(file)
	return data, mode, err
}

// Ensure reads a key pair, or makes it if there is none. It writes the public file anew
// if that is not the private key's. The caller holds the lock of the store in dir, so
// nobody else makes the pair.
func Ensure(dir, name string, logger *zap.Logger) (*eccrypto.PrivateKey, error) {
	private, public := PrivatePath(dir, name), PublicPath(dir, name)
	key, err := ReadPrivate(private, logger)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = eccrypto.GenerateKey(); err != nil {
			return nil, err
		}
		if err = writePrivate(private, key); err != nil {
			return nil, err
		}
		logger.Info("made a key pair", zap.String("file", private), zap.String("key_id", key.Public().ID()))
	}
	if err != nil {
		return nil, err
	}
	want, err := key.Public().MarshalPEM()
	if err != nil {
		return nil, err
	}
	if have, err := os.ReadFile(public); err == nil && bytes.Equal(have, want) {
		return key, nil
	}
	return key, writeFile(public, want, 0o644)
}

// WritePair writes a key pair. It replaces no file, because a private key that was
// overwritten is lost.
func WritePair(dir, name string, key *eccrypto.PrivateKey) error {
	private, public := PrivatePath(dir, name), PublicPath(dir, name)
	for _, file := range []string{private, public} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", file, fs.ErrExist)
		}
	}
	data, err := key.Public().MarshalPEM()
	if err != nil {
		return err
	}
	if err := writePrivate(private, key); err != nil {
		return err
	}
	return writeFile(public, data, 0o644)
}

func writePrivate(file string, key *eccrypto.PrivateKey) error {
	data, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeFile(file, data, 0o600)
}

// writeFile writes a whole file or none.
func writeFile(file string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
