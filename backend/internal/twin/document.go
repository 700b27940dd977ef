package twin

// Document is a text with a name that hubs keep beside devices. Its revision grows with each change.
type Document struct {
	Name     string
	Text     []byte
	Revision uint64 // 0: it is not kept yet
}
