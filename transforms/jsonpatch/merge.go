package jsonpatch

// merge applies a JSON Merge Patch, RFC 7386 section 2.
func merge(target, patch any) any {
	members, ok := patch.(map[string]any)
	if !ok {
		return clone(patch)
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range members {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = merge(object[name], value)
		}
	}
	return object
}
