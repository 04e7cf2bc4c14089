package main

import (
	"syscall"
)

// dieWithParent keeps children from outliving a bench that was killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// openFiles lets this process and its children have as many files open at once
// as they want, or as the system allows: it returns how many.
func openFiles(want uint64) (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	// The hard limit is root's to raise, and not everywhere.
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: max(want, limit.Cur), Max: max(want, limit.Max)}) == nil {
		return max(want, limit.Cur), nil
	}
	limit.Cur = limit.Max
	return limit.Cur, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
