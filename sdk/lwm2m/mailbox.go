package lwm2m

import "sync"

// mailbox runs functions one at a time and in order, in a goroutine that lives
// while there are some. Beyond limit the oldest is dropped; 0 means no limit.
type mailbox struct {
	limit   int
	workers *sync.WaitGroup // of its owner
	mu      sync.Mutex
	queue   []func()
	running bool
	closed  bool
}

// put adds f and tells whether another had to be dropped for it.
func (m *mailbox) put(f func()) (dropped bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.limit > 0 && len(m.queue) >= m.limit {
		m.queue, dropped = m.queue[1:], true
	}
	m.queue = append(m.queue, f)
	if !m.running {
		m.running = true
		m.workers.Go(m.work)
	}
	return dropped
}

func (m *mailbox) work() {
	for {
		f := m.take()
		if f == nil {
			return
		}
		f()
	}
}

func (m *mailbox) take() func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		m.running = false
		return nil
	}
	f := m.queue[0]
	m.queue = m.queue[1:]
	return f
}

// close drops what waits; only the function that runs now goes on.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue, m.closed = nil, true
}
