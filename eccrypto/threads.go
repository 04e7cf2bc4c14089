package eccrypto

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// threads do what keeps a processor busy: opening a token takes longer than all else
// that its first call costs. They are few, so that tokens that were never seen,
// which anybody can send, leave processors to the calls of others. And they are
// threads of the system, which weighs what each of them takes: when openings ran
// on the threads that serve the other calls, those had to stand back for them.
type threads chan func()

// sharedThreads are one pool for all configs, because there is one machine.
var sharedThreads = sync.OnceValue(func() threads {
	return startThreads(max(1, runtime.GOMAXPROCS(0)/2))
})

func startThreads(n int) threads {
	t := make(threads)
	for range n {
		go func() {
			runtime.LockOSThread()
			for job := range t {
				job()
			}
		}()
	}
	return t
}

// run has a thread do the job, and waits for it. It fails with the error of ctx
// when that was done before the job's turn came. A panic of the job is the
// caller's: a thread without anybody to recover would end the process.
func (t threads) run(ctx context.Context, job func()) error {
	// Select would choose at random when both are possible.
	if err := ctx.Err(); err != nil {
		return err
	}
	panicked := make(chan error, 1)
	guarded := func() {
		defer func() {
			var err error
			if v := recover(); v != nil {
				err = fmt.Errorf("%v\n\n%s", v, debug.Stack())
			}
			panicked <- err
		}()
		job()
	}
	select {
	case t <- guarded:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := <-panicked; err != nil {
		panic(err)
	}
	return nil
}
