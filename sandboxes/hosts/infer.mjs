// The build that only infers gets its weights as the bytes of a file.
import * as atalho from '../../dist/embed/reference.js';
import { report } from '../dist/infer.mjs';
import { weightsFile } from '../guest.js';

console.log(await report(weightsFile(atalho, atalho.reference())));
