/** `mxtok help [COMMAND]`, as oclif has it. */
import {commands} from '@oclif/plugin-help';

export default commands.help;
