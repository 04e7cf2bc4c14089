package tokenstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gofrs/flock"
)

// Resolve makes the directory of a store and returns the store's canonical path.
// The lock lies beside the store, so two names of one file must not lead to two locks.
func Resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolving path of store: %w", err)
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("making directory of store: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("resolving directory of store: %w", err)
	}

	path = filepath.Join(dir, filepath.Base(path))
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target, nil
	}
	return path, nil
}

// lock locks the store for this process. The kernel drops the lock when the process
// ends, however it ends. The file stays, because removing it would let two processes
// lock two files of one name.
func lock(path string) (*flock.Flock, error) {
	l := flock.New(path+".lock", flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking store: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	}
	return l, nil
}

// protect makes the store's file if it is missing, accessible to its owner only.
// SQLite gives the same mode to the files beside it, whatever the umask is.
//
// The caller must hold the lock: closing any descriptor of a database drops all of
// SQLite's own locks on it in this process.
func protect(path string) error {
	if err := checkLog(path); err != nil {
		return err
	}

	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return errors.Join(f.Close(), syncDir(filepath.Dir(path)))
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making store: %w", err)
	}

	if err := tighten(path); err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := tighten(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkLog refuses a store that is missing or empty while its write-ahead log exists.
// SQLite would remove the log, and with it the last counts, so that putting the file
// back would not help.
func checkLog(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return fmt.Errorf("%w: put %s back, or remove %s-wal to begin anew", ErrOrphanedLog, path, path)
	}
	return nil
}

// tighten removes everybody's access to a file but the owner's. It refuses a
// world-writable file, because anybody may have written to it.
func tighten(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	mode := info.Mode().Perm()
	if runtime.GOOS == "windows" || mode&0o077 == 0 {
		return nil // Windows has no such modes, and Go reports 0666 for every file
	}
	if mode&0o002 != 0 {
		return fmt.Errorf("%w: %s", ErrWorldWritable, path)
	}
	return os.Chmod(path, mode&0o700)
}

// syncDir makes the name of a new file durable. SQLite syncs its content.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be opened there
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing directory of store: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
