# SPDX-License-Identifier: MIT
# bash completion for mcpctl. mcpctl itself knows its commands and options, so this only asks it.
_mcpctl() {
	local word about cur=${COMP_WORDS[COMP_CWORD]}

	COMPREPLY=()
	# after --, agent run has a command of its own
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [ "$word" = -- ]; then
			COMPREPLY=($(compgen -c -f -- "$cur"))
			return
		fi
	done
	case ${COMP_WORDS[COMP_CWORD-1]} in
	--*-file | --cacert | --output)
		COMPREPLY=($(compgen -f -- "$cur"))
		return
		;;
	esac
	while IFS=$'\t' read -r word about; do
		COMPREPLY+=("$word")
	done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _mcpctl mcpctl
