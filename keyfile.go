package relayapi

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"go.uber.org/zap"
)

// Names of the relay's own key pairs. Each is two files: <name>.pem, the private
// key, and <name>.pub.pem, the public one.
const (
	encryptionKeyName = "encryption-key" // tokens are encrypted to it
	signingKeyName    = "signing-key"    // the relay's own issuer signs with it
)

func privateKeyFile(dir, name string) string { return filepath.Join(dir, name+".pem") }
func publicKeyFile(dir, name string) string  { return filepath.Join(dir, name+".pub.pem") }

// readPrivateKey reads a PEM file. A file that others can write to is refused,
// because whoever writes it mints tokens; one that others can read is warned of.
func readPrivateKey(file string, logger *zap.Logger) (*eccrypto.PrivateKey, error) {
	data, mode, err := readKeyFile(file)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if mode&0o004 != 0 {
		logger.Warn("private key can be read by everybody: chmod 600 it", zap.String("file", file))
	}
	key, err := eccrypto.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w", file, err)
	}
	return key, nil
}

// readKeyFile reads a file that says who mints tokens, and its mode, which means
// nothing on Windows.
func readKeyFile(file string) (data []byte, mode fs.FileMode, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, 0, err
	}
	if runtime.GOOS != "windows" {
		mode = info.Mode().Perm()
	}
	if mode&0o002 != 0 {
		return nil, 0, fmt.Errorf("%s can be written by everybody (mode %04o): chmod go-w it, and replace it if you cannot vouch for it", file, mode)
	}
	data, err = os.ReadFile(file)
	return data, mode, err
}

// ensureKeyPair reads the key pair called name in dir, or makes it, and sees to
// it that the public file is that of the private one. The caller holds the lock
// of the store in dir, so nobody else is making it.
func ensureKeyPair(dir, name string, logger *zap.Logger) (*eccrypto.PrivateKey, error) {
	private, public := privateKeyFile(dir, name), publicKeyFile(dir, name)
	key, err := readPrivateKey(private, logger)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = eccrypto.GenerateKey(); err != nil {
			return nil, err
		}
		if err = writePrivateKey(private, key); err != nil {
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

// writeKeyPair writes a key pair into dir and replaces nothing: a private key
// that was overwritten is gone.
func writeKeyPair(dir, name string, key *eccrypto.PrivateKey) error {
	private, public := privateKeyFile(dir, name), publicKeyFile(dir, name)
	for _, file := range []string{private, public} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", file, fs.ErrExist)
		}
	}
	data, err := key.Public().MarshalPEM()
	if err != nil {
		return err
	}
	if err := writePrivateKey(private, key); err != nil {
		return err
	}
	return writeFile(public, data, 0o644)
}

func writePrivateKey(file string, key *eccrypto.PrivateKey) error {
	data, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeFile(file, data, 0o600)
}

// writeFile writes a file that is there whole or not at all.
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
