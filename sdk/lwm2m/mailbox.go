package lwm2m

import "sync"

// mailbox runs functions one at a time and in order, in a goroutine that lives
// while there are some. Beyond limit the oldest is dropped; 0 means no limit.
type mailbox struct {
	limit   int
	workers *sync.WaitGroup // of its owner
	mu      sync.Mutex
	queue   []letter
	running bool
	closed  bool
}

// letter is run or dropped.
type letter struct {
	run     func()
	dropped func() // may be nil
}

func (l letter) drop() {
	if l.dropped != nil {
		l.dropped()
	}
}

// put adds a letter. Another, or this one, may be dropped for it.
func (m *mailbox) put(l letter) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		l.drop()
		return
	}
	var oldest letter
	if m.limit > 0 && len(m.queue) >= m.limit {
		oldest, m.queue = m.queue[0], m.queue[1:]
	}
	m.queue = append(m.queue, l)
	if !m.running {
		m.running = true
		m.workers.Go(m.work)
	}
	m.mu.Unlock()
	oldest.drop()
}

func (m *mailbox) work() {
	for {
		run := m.take()
		if run == nil {
			return
		}
		run()
	}
}

func (m *mailbox) take() func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		m.running = false
		return nil
	}
	l := m.queue[0]
	m.queue = m.queue[1:]
	return l.run
}

// close drops what waits; only the function that runs now goes on.
func (m *mailbox) close() {
	m.mu.Lock()
	waiting := m.queue
	m.queue, m.closed = nil, true
	m.mu.Unlock()
	for _, l := range waiting {
		l.drop()
	}
}
