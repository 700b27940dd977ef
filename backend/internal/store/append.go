package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of what is appended at once.
const (
	maxBatch      = 500
	maxBatchBytes = 4 << 20
)

// appender appends messages to a stream: those that come at the same time as one batch, for which the disk is synced once.
type appender struct {
	js    jetstream.JetStream
	queue chan pending
}

// pending is a message that is to be appended.
type pending struct {
	msg  *nats.Msg
	done chan appended
}

// appended is where in the stream a message is.
type appended struct {
	sequence uint64
	err      error
}

func newAppender(js jetstream.JetStream) *appender { return &appender{js, make(chan pending)} }

// append appends a message and answers where it is.
func (a *appender) append(ctx context.Context, msg *nats.Msg) (sequence uint64, err error) {
	p := pending{msg, make(chan appended, 1)}
	select {
	case a.queue <- p:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	select {
	case at := <-p.done:
		return at.sequence, at.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// run appends what comes until ctx is done.
func (a *appender) run(ctx context.Context) {
	for {
		select {
		case first := <-a.queue:
			batch := a.collect(first)
			ctx, cancel := context.WithTimeout(ctx, writeTimeout)
			a.appendAll(ctx, batch)
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// collect takes what else waits.
func (a *appender) collect(first pending) []pending {
	batch := []pending{first}
	for size := len(first.msg.Data); len(batch) < maxBatch && size < maxBatchBytes; {
		select {
		case p := <-a.queue:
			batch = append(batch, p)
			size += len(p.msg.Data)
		default:
			return batch
		}
	}
	return batch
}

// appendAll appends all at once. If the server refuses that, since it has one of them already or one comes too late, each
// is appended by itself.
func (a *appender) appendAll(ctx context.Context, batch []pending) {
	if len(batch) > 1 {
		last, err := a.publish(ctx, batch)
		if _, refused := errors.AsType[*jetstream.APIError](err); !refused {
			for i, p := range batch {
				p.done <- appended{last - uint64(len(batch)-1-i), err}
			}
			return
		}
	}
	for _, p := range batch {
		var at appended
		ack, err := a.js.PublishMsg(ctx, p.msg)
		if at.err = err; err == nil {
			at.sequence = ack.Sequence
		}
		p.done <- at
	}
}

// Headers of a batch (NATS, ADR-50).
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
)

// publish appends a batch, all or none of it, and answers where the last one is.
func (a *appender) publish(ctx context.Context, batch []pending) (last uint64, err error) {
	id, conn := rand.Text(), a.js.Conn()
	for i, p := range batch {
		msg := &nats.Msg{Subject: p.msg.Subject, Data: p.msg.Data, Header: nats.Header{}}
		maps.Copy(msg.Header, p.msg.Header)
		msg.Header.Set(batchID, id)
		msg.Header.Set(batchSequence, strconv.Itoa(i+1))
		if i < len(batch)-1 {
			if err := conn.PublishMsg(msg); err != nil {
				return 0, err
			}
			continue
		}
		msg.Header.Set(batchCommit, "1")
		answer, err := conn.RequestMsgWithContext(ctx, msg)
		if err != nil {
			return 0, err
		}
		return readAck(answer.Data)
	}
	return 0, nil
}

func readAck(answer []byte) (sequence uint64, err error) {
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
	}
	if err := json.Unmarshal(answer, &ack); err != nil {
		return 0, fmt.Errorf("cannot understand the server: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Sequence, nil
}
