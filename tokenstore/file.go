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

// Resolve makes the directory of a store and returns the one path that all
// who mean this store agree on: the lock lies beside it, so two names for one
// file must not lead to two locks.
func Resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, filepath.Base(path))
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target, nil
	}
	return path, nil
}

// lock takes the store for this process. The kernel drops the lock with the
// process, however that ends; the file stays, because removing it would let
// two processes lock two files of one name.
func lock(path string) (*flock.Flock, error) {
	l := flock.New(path+".lock", flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	}
	return l, nil
}

// protect makes the store's file if there is none, for its owner only. SQLite
// gives the same mode to the files it makes beside it, whatever the umask is.
//
// It must be called with the lock held: closing any descriptor of a database
// drops all of SQLite's own locks on it in this process.
func protect(path string) error {
	if err := checkLog(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return errors.Join(f.Close(), syncDir(filepath.Dir(path)))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
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

// checkLog refuses a store that is missing or empty while its write-ahead log
// is there: SQLite would remove the log, and with it what was counted last,
// should the file be put back.
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

// tighten takes a file from everybody but its owner. What everybody may write
// to, anybody may have written to: that file is refused.
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
		return nil // Windows has no such modes: Go reports 0666 for every file
	}
	if mode&0o002 != 0 {
		return fmt.Errorf("%w: %s", ErrWorldWritable, path)
	}
	return os.Chmod(path, mode&0o700)
}

// syncDir makes a new file's name durable: SQLite syncs what is in the file.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be opened there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
