package disk

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// list opens a directory and returns the names in it.
func list(dir string) (*os.File, []string, error) {
	f, err := open(dir)
	if err != nil {
		return nil, nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, names, nil
}

// share is how many names are worth a thread.
const share = 32

// look looks at all these names in a directory, on all processors. In a state
// of many files that is most of the work.
func look(dir *os.File, names []string) ([]replica.Info, error) {
	infos, errs := make([]replica.Info, len(names)), make([]error, runtime.GOMAXPROCS(0))
	var taken atomic.Int64
	var group sync.WaitGroup
	some := func(failed *error) {
		for *failed == nil {
			end := int(taken.Add(share))
			for i := end - share; i < min(end, len(names)) && *failed == nil; i++ {
				infos[i], *failed = replica.LookIn(dir, names[i])
			}
			if end >= len(names) {
				return
			}
		}
	}
	for i := 1; i < min(len(errs), (len(names)+share-1)/share); i++ {
		group.Go(func() { some(&errs[i]) })
	}
	some(&errs[0])
	group.Wait()
	return infos, errors.Join(errs...)
}
