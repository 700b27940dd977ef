package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Bounds of the queue: bytes of all commands that wait, and for how long it is told how one has ended.
const (
	queueBytes   = 256 << 20
	feedbackLife = 48 * time.Hour
	feedbackLock = time.Minute // between being read and being confirmed
)

// expiryHeader has when a command expires, Unix seconds, so that it can be seen without the payload.
const expiryHeader = "Tranquil-Expires"

func commands(id string) string { return "commands." + key(id) }

func (s *Store) provideQueue(ctx context.Context) (err error) {
	s.queue, err = s.stream(ctx, jetstream.StreamConfig{
		Name: "commands", Subjects: []string{"commands.*"}, MaxBytes: queueBytes, MaxAge: twin.MaxLife,
		MaxMsgsPerSubject: twin.MaxQueue, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, AllowDirect: true,
	})
	if err != nil {
		return err
	}
	feedback, err := s.stream(ctx, jetstream.StreamConfig{
		Name: "feedback", Subjects: []string{"feedback"}, MaxBytes: queueBytes / 4, MaxAge: feedbackLife,
	})
	if err != nil {
		return err
	}
	s.ends, err = feedback.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "feedback", AckPolicy: jetstream.AckExplicitPolicy, AckWait: feedbackLock,
	})
	return err
}

// Enqueue adds a command to its device's queue; twin.QueueFull.
func (s *Store) Enqueue(ctx context.Context, c twin.Command) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("cannot encode command: %w", err)
	}
	msg := &nats.Msg{Subject: commands(c.Device), Data: text, Header: nats.Header{}}
	msg.Header.Set(expiryHeader, strconv.FormatInt(c.Expires.Unix(), 10))
	_, err = s.js.PublishMsg(ctx, msg)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && strings.Contains(api.Description, "maximum") {
		return twin.QueueFull // of the device, or of all
	}
	if err != nil {
		return fmt.Errorf("cannot enqueue command: %w", err)
	}
	return nil
}

// Command answers the next command for a device after a sequence, nil if there is none.
func (s *Store) Command(ctx context.Context, device string, after uint64) (*twin.Command, error) {
	msg, err := s.queue.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(commands(device)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read queue: %w", err)
	}
	c := &twin.Command{Sequence: msg.Sequence}
	if err := json.Unmarshal(msg.Data, c); err != nil {
		return nil, fmt.Errorf("command %d is damaged: %w", msg.Sequence, err)
	}
	return c, nil
}

// Dequeue removes a command that has ended; it may be gone already. A non-nil end is told by [Store.Feedback].
func (s *Store) Dequeue(ctx context.Context, sequence uint64, end *twin.Feedback) error {
	if end != nil {
		text, err := json.Marshal(end)
		if err != nil {
			return fmt.Errorf("cannot encode feedback: %w", err)
		}
		id := jetstream.WithMsgID(strconv.FormatUint(sequence, 10)) // two hubs may see the same end
		if _, err := s.js.Publish(ctx, "feedback", text, id); err != nil {
			return fmt.Errorf("cannot keep feedback: %w", err)
		}
	}
	err := s.queue.DeleteMsg(ctx, sequence)
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return fmt.Errorf("cannot remove command: %w", err)
	}
	return nil
}

// Queued counts the commands that wait, by device; of one device, or of all with device "".
func (s *Store) Queued(ctx context.Context, device string) (map[string]int, error) {
	filter := "commands.*"
	if device != "" {
		filter = commands(device)
	}
	info, err := s.queue.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("cannot count commands: %w", err)
	}
	counts := map[string]int{}
	for subject, n := range info.State.Subjects {
		counts[addressee(subject)] = int(n)
	}
	return counts, nil
}

// Arrivals tells for which devices commands come from now on, until ctx is done.
func (s *Store) Arrivals(ctx context.Context) (iter.Seq2[string, error], error) {
	messages, err := s.headers(ctx, jetstream.DeliverNewPolicy)
	if err != nil {
		return nil, err
	}
	return func(yield func(string, error) bool) {
		defer messages.Stop()
		for {
			msg, err := messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				yield("", fmt.Errorf("cannot follow queue: %w", err))
				return
			}
			if !yield(addressee(msg.Subject()), nil) {
				return
			}
		}
	}, nil
}

// Overdue answers those commands that have expired, without their payload: for whom, and which.
func (s *Store) Overdue(ctx context.Context, now time.Time) ([]twin.Command, error) {
	info, err := s.queue.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read queue: %w", err)
	}
	if info.State.Msgs == 0 {
		return nil, nil
	}
	messages, err := s.headers(ctx, jetstream.DeliverAllPolicy)
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	var overdue []twin.Command
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("cannot read queue: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		expires, _ := strconv.ParseInt(msg.Headers().Get(expiryHeader), 10, 64)
		if c := (twin.Command{Sequence: meta.Sequence.Stream, Device: addressee(msg.Subject())}); expires <= now.Unix() {
			overdue = append(overdue, c)
		}
		if meta.NumPending == 0 {
			return overdue, nil
		}
	}
}

func addressee(subject string) string {
	id, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(subject, "commands."))
	return string(id)
}

// headers reads the queue without payloads.
func (s *Store) headers(ctx context.Context, from jetstream.DeliverPolicy) (jetstream.MessagesContext, error) {
	consumer, err := s.queue.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: from, HeadersOnly: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot follow queue: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return nil, fmt.Errorf("cannot follow queue: %w", err)
	}
	return messages, nil
}

// Feedback answers up to n ends of commands that nobody has confirmed, and a token that confirms them; they come again
// after a minute if nobody does.
func (s *Store) Feedback(ctx context.Context, n int) (ends []twin.Feedback, token string, err error) {
	batch, err := s.ends.FetchNoWait(n)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read feedback: %w", err)
	}
	var tokens []string
	for msg := range batch.Messages() {
		var end twin.Feedback
		if err := json.Unmarshal(msg.Data(), &end); err != nil {
			return nil, "", fmt.Errorf("feedback is damaged: %w", err)
		}
		ends, tokens = append(ends, end), append(tokens, strings.TrimPrefix(msg.Reply(), ackPrefix))
	}
	return ends, base64.RawURLEncoding.EncodeToString([]byte(strings.Join(tokens, " "))), batch.Error()
}

// ackPrefix is where the consumer of feedback is answered.
const ackPrefix = "$JS.ACK.feedback.feedback."

// Confirm ends the feedback that a token stands for, or with again gives it back at once.
func (s *Store) Confirm(ctx context.Context, token string, again bool) error {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(text) == 0 {
		return twin.ArgumentInvalid.With("this is no lock token of feedback")
	}
	answer := []byte("+ACK")
	if again {
		answer = []byte("-NAK")
	}
	for one := range strings.SplitSeq(string(text), " ") {
		if strings.ContainsFunc(one, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }) {
			return twin.ArgumentInvalid.With("this is no lock token of feedback")
		}
		if _, err := s.conn.RequestWithContext(ctx, ackPrefix+one, answer); err != nil {
			return fmt.Errorf("cannot confirm feedback: %w", err)
		}
	}
	return nil
}
